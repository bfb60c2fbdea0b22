#!lua flags=allow-oom
-- release: ends a hold and charges nothing.
-- KEYS    held..., hold, holds...
-- ARGV    record, bucket_ms, receipt_ttl_ms, held...
-- REPLY   RELEASED
-- REPLY   REPLAY reply
-- REPLY   CHANGED record
-- ERRORS  CORRUPT INVALID SETTLED UNKNOWN_HOLD
-- COST    GET, SET, and a DECRBY and an HINCRBY a counter

-- The arguments are as in settle.

-- @include problem
-- @include unhold
local count, known, bucket_ms, receipt_ttl_ms = (#KEYS - 1) / 2, ARGV[1], ARGV[2], ARGV[3]
local hold, holds = KEYS[count + 1], count + 1

local record = redis.call('GET', hold)
if record ~= known or not string.find(record, '^open ') then
  -- @include record
  return not_as_known(hold, record, 'release')
end
if not string.find(receipt_ttl_ms, '^[1-9]%d*$') then return problem('INVALID', 'receipt_ttl_ms') end
local err = unhold(0, holds, 3, count, bucket_ms)
if err then return err end
redis.call('SET', hold, 'released' .. string.sub(record, 5) .. ' | release RELEASED', 'PX', receipt_ttl_ms)
return 'RELEASED'
