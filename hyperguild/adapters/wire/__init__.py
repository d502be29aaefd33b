"""What adapters that speak to endpoints share: opening connections, keys, programs, errors in plain words."""
