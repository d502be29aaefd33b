"""Pages to look back at the session log, judge and learn from it; over the ReviewStore port."""
