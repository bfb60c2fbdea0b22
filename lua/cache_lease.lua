#!lua
-- cache_lease: gives the right to compute a value to one who asks, unless the value is there.
-- KEYS    value, lock
-- ARGV    token, lock_ttl_ms, force
-- REPLY   HIT left_ms text
-- REPLY   LEASED
-- REPLY   BUSY left_ms
-- ERRORS  INVALID
-- COST    two GETs and a PTTL, or a PSETEX

-- With `force` 1 a value that is there does not count: it is to be refreshed, or was found to be no good. The lock holds the
-- token of who computes, and who writes must hold it still.

local call, find = redis.call, string.find
local value, lock, token, lock_ttl_ms, force = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
if not find(token, '^%w+$') then return redis.error_reply('COSTGUARD_INVALID token') end
if not find(lock_ttl_ms, '^[1-9]%d*$') or #lock_ttl_ms > 15 then return redis.error_reply('COSTGUARD_INVALID lock_ttl_ms') end

local holder = call('GET', lock)
-- The answer was lost, and is asked for again.
if holder == token then return 'LEASED' end
if force ~= '1' then
  local text = redis.call('GET', value)
  if text then return string.format('HIT %d ', call('PTTL', value)) .. text end
end
if holder then return string.format('BUSY %d', call('PTTL', lock)) end
call('PSETEX', lock, lock_ttl_ms, token)
return 'LEASED'
