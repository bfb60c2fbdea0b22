#!lua flags=allow-oom
-- release: ends a hold, charges nothing, and gives back what was taken from rates.
-- KEYS    held..., hold, holds..., [state...]
-- ARGV    counters, record, bucket_ms, receipt_ttl_ms, held..., [now_ms, reserved_us, (change, limit, span_us, how)...]
-- REPLY   RELEASED
-- REPLY   REPLAY reply
-- REPLY   CHANGED record
-- ERRORS  CORRUPT INVALID OVERFLOW SETTLED UNKNOWN_HOLD
-- COST    GET, SET, and a DECRBY and an HINCRBY a counter; with rates TIME and a GET and a SET each

-- The arguments are as in settle.

-- @include unhold
local call, count, known, bucket_ms, receipt_ttl_ms = redis.call, #ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local hold, holds = KEYS[count + 1], count + 1

local record = call('GET', hold)
if record ~= known or not string.find(record, '^open ') then
  -- @include record
  return not_as_known(hold, record, 'release')
end
if not string.find(receipt_ttl_ms, '^[1-9]%d*$') or #receipt_ttl_ms > 15 then return redis.error_reply('COSTGUARD_INVALID receipt_ttl_ms') end
local states, made
if #ARGV > 4 + count then
  -- @include correct
  local err
  local now_ms = ARGV[5 + count]
  -- @include now
  states = 2 * count + 1
  made, err = corrected(#KEYS - states, states, 6 + count, now_s * 1e6 + us, ARGV[6 + count] + 0)
  if err then return err end
end
local err = unhold(0, holds, 4, count, bucket_ms)
if err then return err end
if made then
  -- @include correct
  write_states(made, states, ARGV[5 + count])
end
call('SET', hold, 'released release RELEASED | ' .. record, 'PX', receipt_ttl_ms)
return 'RELEASED'
