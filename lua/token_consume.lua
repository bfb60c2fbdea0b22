#!lua
-- token_consume: takes a one-time token: the first claim wins, every other one finds nothing.
-- KEYS    token
-- ARGV    claim, kept_ms
-- REPLY   TAKEN record
-- REPLY   NONE
-- ERRORS  INVALID
-- COST    a GET and a PSETEX

-- What is stored: 'open record', or 'taken claim record' for `kept_ms` at most, so that the winner whose answer was lost gets it
-- when it asks again.

local call, find = redis.call, string.find
local token, claim, kept_ms = KEYS[1], ARGV[1], ARGV[2]
if not find(claim, '^%w+$') then return redis.error_reply('COSTGUARD_INVALID claim') end
if not find(kept_ms, '^[1-9]%d*$') or #kept_ms > 12 then return redis.error_reply('COSTGUARD_INVALID kept_ms') end

local stored = call('GET', token)
if not stored then return 'NONE' end
local record = string.match(stored, '^open (.*)$')
if not record then
  local winner, taken = string.match(stored, '^taken (%w+) (.*)$')
  if winner == claim then return 'TAKEN ' .. taken end
  return 'NONE'
end
local left_ms = call('PTTL', token)
if left_ms > 0 and left_ms < kept_ms + 0 then kept_ms = string.format('%.0f', left_ms) end
call('PSETEX', token, kept_ms, 'taken ' .. claim .. ' ' .. record)
return 'TAKEN ' .. record
