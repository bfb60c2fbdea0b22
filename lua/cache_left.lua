#!lua flags=no-writes
-- cache_left: how long a key of any type still lives.
-- KEYS    key
-- ARGV    (none)
-- REPLY   OK left_ms
-- ERRORS  (none)
-- COST    a PTTL

-- -2 is no key, -1 one without an end.

return string.format('OK %d', redis.call('PTTL', KEYS[1]))
