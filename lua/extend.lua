#!lua
-- extend: lets a hold that is still open end later.
-- KEYS    hold, holds...
-- ARGV    ttl_ms, width_ms, record_ttl_ms, now_ms
-- REPLY   EXTENDED expires_ms
-- ERRORS  CORRUPT EXPIRED INVALID RELEASED SETTLED UNKNOWN_HOLD
-- COST    a GET, a TIME, a SET, and a counter an HGET and two HINCRBY

-- The hold ends `ttl_ms` from now, never earlier than before.

-- @include problem
-- @include hold
-- @include free
local call = redis.call
local count, ttl_ms, width, record_ttl_ms, now_ms = #KEYS - 1, ARGV[1], ARGV[2] + 0, ARGV[3], ARGV[4]

local hold, err = read_hold(KEYS[1])
if not hold then return err end
if hold.state ~= 'open' then return problem(string.upper(hold.state), 'this hold has been ' .. hold.state) end
local amounts = read_amounts(hold, 2, count, ':holds')
if not amounts then return problem('INVALID', 'these are not the keys of the hold') end
if not string.find(record_ttl_ms, '^[1-9]%d*$') then return problem('INVALID', 'record_ttl_ms') end
local now = now_ms ~= '' and now_ms + 0
if not now then
  local time = call('TIME')
  local us = time[1] * 1e6 + time[2]
  now = (us - us % 1000) / 1000
end
local kept, err = look_held(1, count, hold.bucket_ms)
if not kept then return err end
for i = 1, count do
  if now >= hold.expires_ms + 0 or not kept[i] then return problem('EXPIRED', 'this hold has expired; reserve anew') end
end

local expires_ms = math.max(now + ttl_ms, hold.expires_ms + 0)
local bucket_ms = expires_ms + width - 1
bucket_ms = string.format('%.0f', bucket_ms - bucket_ms % width)
if bucket_ms ~= hold.bucket_ms then
  local later, err = look_held(1, count, bucket_ms)
  if not later then return err end
  for i = 1, count do
    -- The new bucket first: a hash that became empty would lose its TTL.
    call('HINCRBY', KEYS[1 + i], bucket_ms, amounts[i])
    if kept[i] == amounts[i] then
      call('HDEL', KEYS[1 + i], hold.bucket_ms)
    else
      call('HINCRBY', KEYS[1 + i], hold.bucket_ms, '-' .. amounts[i])
    end
  end
end
hold.expires_ms, hold.bucket_ms = expires_ms, bucket_ms
write_hold(KEYS[1], hold, hold.rest, record_ttl_ms)
return 'EXTENDED ' .. expires_ms
