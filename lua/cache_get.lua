#!lua flags=no-writes
-- cache_get: reads a text and how long it still lives.
-- KEYS    value
-- ARGV    (none)
-- REPLY   HIT left_ms text
-- REPLY   MISS
-- ERRORS  (none)
-- COST    a GET and a PTTL

local text = redis.call('GET', KEYS[1])
if not text then return 'MISS' end
return string.format('HIT %d ', redis.call('PTTL', KEYS[1])) .. text
