#!lua
-- grow: sets more aside for a hold that is still open, if every limit allows it.
-- KEYS    counter..., held..., hold, holds...
-- ARGV    latest_start_ms, earliest_end_ms, (amount, expiry, limit)..., now_ms, step, record_ttl_ms
-- REPLY   GRANTED step used... [held...]
-- REPLY   DENIED now_ms refusing used... [held... frees_ms...]
-- REPLY   REPLAY GRANTED step used... [held...]
-- ERRORS  CONFLICT CORRUPT EXPIRED INVALID OVERFLOW RELEASED SETTLED UNKNOWN_HOLD
-- COST    as reserve

-- `amount` is how much more. `step` is how often the hold has grown before: sent again, a step that was taken is not taken
-- twice. The windows are those in which the hold was reserved.

-- @include problem
-- @include integer
-- @include hold
-- @include free
local call, find = redis.call, string.find
local count, touch = (#KEYS - 1) / 3, '1'
local key, holds = KEYS[2 * count + 1], 2 * count + 1
local now_ms, step, record_ttl_ms = unpack(ARGV, 3 + 3 * count)

local hold, err = read_hold(key)
if not hold then return err end
if hold.state ~= 'open' then return problem(string.upper(hold.state), 'this hold has been ' .. hold.state) end
local amounts, limits = read_amounts(hold, 1, count, '')
if not amounts then return problem('INVALID', 'these are not the keys of the hold') end
if not find(record_ttl_ms, '^[1-9]%d*$') then return problem('INVALID', 'record_ttl_ms') end
if hold.step == string.format('%.0f', step + 1) then
  local texts = call('MGET', unpack(KEYS, 1, 2 * count))
  for i = 1, 2 * count do texts[i] = texts[i] or '0' end
  return 'REPLAY GRANTED ' .. hold.step .. ' ' .. table.concat(texts, ' ')
elseif hold.step ~= step then
  return problem('CONFLICT', 'this hold has grown elsewhere')
end
local now = now_ms ~= '' and now_ms + 0
if not now then
  local time = call('TIME')
  local us = time[1] * 1e6 + time[2]
  now = (us - us % 1000) / 1000
end
local kept, err = look_held(holds, count, hold.bucket_ms)
if not kept then return err end
for i = 1, count do
  if now >= hold.expires_ms + 0 or not kept[i] then return problem('EXPIRED', 'this hold has expired; reserve anew') end
end

-- @include decide
local entries = {}
for i = 1, count do
  local more = ARGV[3 * i]
  local amount = wide_add(amounts[i], more, '')
  if not amount then return problem('OVERFLOW', key .. ' would leave the 64-bit range') end
  entries[i] = KEYS[i] .. ' ' .. amount .. ' ' .. limits[i]
end
for i = 1, count do
  call('INCRBY', KEYS[count + i], ARGV[3 * i])
  call('HINCRBY', KEYS[holds + i], hold.bucket_ms, ARGV[3 * i])
end
hold.step = hold.step + 1
write_hold(key, hold, table.concat(entries, ' '), record_ttl_ms)
return 'GRANTED ' .. hold.step .. ' ' .. table.concat(texts, ' ', 1, holding and 2 * count or count)
