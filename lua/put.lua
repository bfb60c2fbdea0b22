#!lua
-- put: stores a text for a TTL and ends what was being computed for it.
-- KEYS    value, [lock]
-- ARGV    text, ttl_ms
-- REPLY   OK
-- ERRORS  INVALID
-- COST    a PSETEX and, with a lock, a DEL

-- Whoever computes the value under the lock finds it gone and leaves this one alone.

local value, lock, text, ttl_ms = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
if not string.find(ttl_ms, '^[1-9]%d*$') or #ttl_ms > 15 then return redis.error_reply('COSTGUARD_INVALID ttl_ms') end
redis.call('PSETEX', value, ttl_ms, text)
if lock then redis.call('DEL', lock) end
return 'OK'
