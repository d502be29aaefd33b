"""SKILL.md manifests and the catalog of the folders that hold them (the Agent Skills format).

`SkillCatalog` finds and loads, `check_catalog` reports, `skill_search_path` says where to look, and
`bundled_skills_dir` where the skills are that the package carries.
"""

from hyperguild.skills.allowed_tools import ToolPattern
from hyperguild.skills.catalog import SkillCatalog, SkillEntry
from hyperguild.skills.check import Finding, check_catalog, check_entry, check_skill
from hyperguild.skills.manifest import Skill, read_skill
from hyperguild.skills.search_path import bundled_skills_dir, skill_search_path

__all__ = [
    "Finding",
    "Skill",
    "SkillCatalog",
    "SkillEntry",
    "ToolPattern",
    "bundled_skills_dir",
    "check_catalog",
    "check_entry",
    "check_skill",
    "read_skill",
    "skill_search_path",
]
