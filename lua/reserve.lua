#!lua
-- reserve: sets amounts aside beside counters until their hold ends, and takes them from rates, if every limit allows it.
-- KEYS    counter..., held..., state..., ruled, hold, holds..., [rules]
-- ARGV    counters, latest_start_s, earliest_end_s, expiries, ttl_ms, bucket, record_ttl_ms, tail, (amount, limit)..., (amount, limit, span_us, how)..., [now_ms, touch, asked]
-- REPLY   GRANTED now_s us bucket_ms part shadowed (state)... used... [held...] [rulings]
-- REPLY   DENIED now_s us refusing (state)... used... [held... frees_ms...] [rulings]
-- REPLY   HELD record
-- REPLY   STALE now_s
-- REPLY   RULED now_s
-- ERRORS  CONFLICT CORRUPT INVALID OVERFLOW
-- COST    TIME, SET, one MGET, an INCRBY and an HINCRBY a counter and a SET a rate; where holds make a limit bind as admit

-- Counters, states and limits are as in admit. The record of a hold is a line, 'open STEP NOW_S US TTL_MS BUCKET_MS FINGERPRINT
-- TAGS', then 'COUNTER AMOUNT LIMIT' a counter and a rate: reserved at NOW_S and US microseconds, it expires TTL_MS after that.
-- `tail` is all from FINGERPRINT on; a partial amount and overrides are filled in. LIMIT is `Bound` in ops/hold/record.rs.
-- HELD answers a repeat of the request with the record.
-- A hold lies in a bucket that ends at or after its expiry: it frees late, never early. Who reserves names the bucket, as it
-- names windows, for the seconds from `latest_start_s` to `earliest_end_s`; or gives the width of buckets where a hold is
-- too short for that.

local call, find, KEYS, ARGV = redis.call, string.find, KEYS, ARGV
local count, expiries, ttl_ms, bucket_ms, tail, amounts, reserving = #ARGV[1], ARGV[4], ARGV[5], ARGV[6], ARGV[8], 8, true
local states, now_ms, touch, asked = (#ARGV - amounts - 2 * count) / 4, '', '', ''
if states % 1 ~= 0 then
  states = states - 0.75
  now_ms, touch, asked = unpack(ARGV, #ARGV - 2)
end
local ruled = 2 * count + states + 1
local holds = ruled + 1

local texts = call('MGET', unpack(KEYS, 1, holds))
local record = texts[holds]
if record then
  local head = 'open %S+ %S+ %S+ %S+ %S+ (%S+)'
  local known = string.match(record, '^' .. head) or string.match(record, '^%l+ .- | ' .. head)
  if known and known == string.match(tail, '^%S+') then return 'HELD ' .. record end
  return redis.error_reply('COSTGUARD_CONFLICT this hold id was used for a different request; use a new id')
end
-- @include now
if now_s < ARGV[2] or now_s >= ARGV[3] then return 'STALE ' .. now_s end
local ruling, blocked = '', nil
if texts[ruled] then
  local limit_args, state_args = amounts, amounts + 2 * count
  -- @include ruled
  -- The record says by which limits it was reserved: it grows by them, and rates are given back in their unit.
  for position, limit in string.gmatch(overrides, '(%d+) (%d+) %d+') do
    local key = KEYS[position + 0 <= count and position + 0 or count + position]
    tail = string.gsub(tail, '( ' .. string.gsub(key, '%W', '%%%0') .. ' %S+ %+?)[%d-]+', '%1' .. limit, 1)
  end
end
-- @include decide
if part ~= '-' then tail = string.gsub(tail, ' <%d* ', ' ' .. part .. ' ') end

-- Thirteen digits: buckets sort as they are.
if #bucket_ms < 13 then
  local expires_ms = now_s * 1000 + us / 1000 + ttl_ms
  bucket_ms = string.format('%013d', expires_ms + -expires_ms % bucket_ms)
end

-- From here on it is written; what can still fail comes first, and is taken back when it does.
local record_ttl_ms = ARGV[7]
if not call('SET', KEYS[holds], 'open 0 ' .. now_s .. ' ' .. us .. ' ' .. ttl_ms .. ' ' .. bucket_ms .. ' ' .. tail, 'PX', record_ttl_ms, 'NX') then
  return redis.error_reply('COSTGUARD_CORRUPT ' .. KEYS[holds] .. ' does not hold a hold')
end
local try, number, opens, at = redis.pcall, tonumber, false, amounts - 1
for i = 1, count do
  at = at + 2
  local amount = ARGV[at]
  if amount ~= checked then checked, adds = amount, amount + 0 end
  local kept = try('HINCRBY', KEYS[holds + i], bucket_ms, amount)
  local total = number(kept) and try('INCRBY', KEYS[count + i], amount)
  if not number(total) then
    for j = 1, i do
      local held, taken = KEYS[count + j], ARGV[amounts + 2 * j - 1]
      -- It was not there before: it has no TTL yet.
      if j < i and call('DECRBY', held, taken) == 0 and call('PTTL', held) == -1 then call('DEL', held) end
      taken = taken == '0' and '0' or '-' .. taken
      if (j < i or total) and call('HINCRBY', KEYS[holds + j], bucket_ms, taken) == 0 then call('HDEL', KEYS[holds + j], bucket_ms) end
    end
    call('DEL', KEYS[holds])
    -- @include refused
    if total then return refused(total, KEYS[count + i], 'an amount') end
    return refused(kept, KEYS[holds + i], 'amounts by time')
  end
  -- What was not there, or was lost with an evicted key, has no TTL yet.
  if kept == adds or total == adds then opens = true end
end
if opens or fresh or touch ~= '' then
  -- @include lives
  -- @include expiry
  lives = lives or ends(expiries)
  -- What is held lives as long as any hold in this bucket, be its window over before.
  local keep_ms = string.format('%d', bucket_ms - now_s * 1000 + record_ttl_ms - ttl_ms)
  for i = 1, count do
    local counter, expiry = KEYS[i], lives[i]
    if not expiry then expiry = '+' .. record_ttl_ms end
    -- The counter is made now, so that it has its TTL when the hold is settled into it.
    if fresh then call('INCRBY', counter, '0') end
    expire(counter, expiry, fresh, now_ms)
    local next_ms = call('HGET', KEYS[holds + i], 'next')
    if not next_ms or bucket_ms + 0 < (tonumber(next_ms) or 9e15) or next_ms == '-1' then
      call('HSET', KEYS[holds + i], 'next', bucket_ms)
    end
    for _, key in ipairs({ KEYS[count + i], KEYS[holds + i] }) do
      expire(key, expiry, false, now_ms)
      if call('PTTL', key) < keep_ms + 0 then call('PEXPIRE', key, keep_ms) end
    end
  end
end
if states > 0 then
  -- @include take
end
return 'GRANTED ' .. now_s .. ' ' .. us .. ' ' .. bucket_ms .. ' ' .. part .. ' ' .. shadowed .. ' ' .. words
  .. table.concat(texts, ' ', 1, holding and 2 * count or count) .. ruling
