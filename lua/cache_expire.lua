#!lua
-- cache_expire: gives a key of any type another TTL from now on.
-- KEYS    key
-- ARGV    ttl_ms
-- REPLY   OK found
-- ERRORS  INVALID
-- COST    a PEXPIRE

local ttl_ms = ARGV[1]
if not string.find(ttl_ms, '^[1-9]%d*$') or #ttl_ms > 15 then return redis.error_reply('COSTGUARD_INVALID ttl_ms') end
return 'OK ' .. redis.call('PEXPIRE', KEYS[1], ttl_ms)
