#!lua
-- cache_finish: stores what was computed under a lock that is still held, and gives the lock back.
-- KEYS    value, lock
-- ARGV    token, text, ttl_ms
-- REPLY   OK
-- REPLY   FENCED
-- ERRORS  INVALID
-- COST    a GET, a PSETEX and a DEL

-- An empty `ttl_ms` stores nothing. Who has lost the lock, to its expiry, to another or to a value that was set meanwhile, writes
-- nothing.

local call = redis.call
local value, lock, token, text, ttl_ms = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
if ttl_ms ~= '' and (not string.find(ttl_ms, '^[1-9]%d*$') or #ttl_ms > 15) then return redis.error_reply('COSTGUARD_INVALID ttl_ms') end
if call('GET', lock) ~= token then return 'FENCED' end
if ttl_ms ~= '' then call('PSETEX', value, ttl_ms, text) end
call('DEL', lock)
return 'OK'
