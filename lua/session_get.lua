#!lua
-- session_get: reads a session that is valid and lets it live longer.
-- KEYS    session, generation
-- ARGV    ttl_ms
-- REPLY   FOUND left_ms record
-- REPLY   NONE
-- ERRORS  CORRUPT INVALID
-- COST    TIME, an MGET, a PTTL and a PEXPIRE

-- With an empty `ttl_ms` its end stays as it is. It never lives beyond the end with which it was made.

local call, find, KEYS, ARGV = redis.call, string.find, KEYS, ARGV
local session, ttl_ms = KEYS[1], ARGV[1]
if ttl_ms ~= '' and (not find(ttl_ms, '^[1-9]%d*$') or #ttl_ms > 12) then return redis.error_reply('COSTGUARD_INVALID ttl_ms') end

local texts = call('MGET', session, KEYS[2])
if not texts[1] then return 'NONE' end
local generation, ends_ms, record = string.match(texts[1], '^(%w+) (%d+) (.*)$')
if not generation then return redis.error_reply('COSTGUARD_CORRUPT ' .. session .. ' does not hold a session') end
if texts[2] ~= generation then return 'NONE' end

local left_ms = call('PTTL', session)
if ttl_ms ~= '' or left_ms < 0 then
  local time = call('TIME')
  left_ms = ends_ms - time[1] * 1000 - math.floor(time[2] / 1000)
  if ttl_ms ~= '' then left_ms = math.min(left_ms, ttl_ms) end
  if left_ms <= 0 then return 'NONE' end
  call('PEXPIRE', session, string.format('%.0f', left_ms))
end
return string.format('FOUND %.0f ', left_ms) .. record
