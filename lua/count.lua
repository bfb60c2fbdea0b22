#!lua
-- count: adds to a counter that lives for a TTL from its first hit on, or from its last.
-- KEYS    counter, [receipt]
-- ARGV    amount, ttl_ms, extend, [receipt_ttl_ms, fingerprint]
-- REPLY   OK count left_ms
-- REPLY   REPLAY reply
-- ERRORS  CONFLICT CORRUPT INVALID OVERFLOW
-- COST    PTTL and INCRBY, a PEXPIRE when the TTL is set; with an id a GET and a SET

-- `extend` is 1 when every hit starts the TTL anew, otherwise empty. A counter found without a TTL gets one.

local call, find, KEYS, ARGV = redis.call, string.find, KEYS, ARGV
local counter, receipt = KEYS[1], KEYS[2]
local amount, ttl_ms, extend, receipt_ttl_ms, fingerprint = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

if receipt then
  -- @include receipt
  local answered = replayed(call('GET', receipt), fingerprint, receipt_ttl_ms)
  if answered then return answered end
end
if amount ~= '0' and not find(amount, '^[1-9]%d*$') then return redis.error_reply('COSTGUARD_INVALID amount') end
if not find(ttl_ms, '^[1-9]%d*$') or #ttl_ms > 15 then return redis.error_reply('COSTGUARD_INVALID ttl_ms') end

local left_ms = call('PTTL', counter)
local count = redis.pcall('INCRBY', counter, amount)
if type(count) == 'table' then
  -- @include refused
  return refused(count, counter, 'an integer')
end
if left_ms < 0 or extend ~= '' then
  call('PEXPIRE', counter, ttl_ms)
  left_ms = ttl_ms + 0
end
if count >= 1e14 or count <= -1e14 then count = call('GET', counter) end

local reply = string.format('OK %s %.0f', count, left_ms)
if receipt then call('SET', receipt, fingerprint .. ' ' .. reply, 'PX', receipt_ttl_ms) end
return reply
