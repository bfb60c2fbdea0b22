#!lua flags=no-writes
-- peek: reads counters, what is held beside them, and rates, and changes nothing.
-- KEYS    counter..., state..., ruled, holds..., [rules]
-- ARGV    counters, latest_start_s, earliest_end_s, (amount, limit, span_us, how)..., [now_ms, asked]
-- REPLY   OK now_s us (state)... (used buckets (bucket_ms held)...)... [rulings]
-- REPLY   STALE now_s
-- REPLY   RULED now_s
-- ERRORS  CORRUPT
-- COST    TIME, one MGET and an HGETALL a counter

-- `buckets` counts the buckets that follow: how much is held until when, soonest first. Those that have ended are left out. What
-- rates say is as in admit.

local call, find, KEYS, ARGV = redis.call, string.find, KEYS, ARGV
local count, states, now_ms, asked = #ARGV[1], (#ARGV - 3) / 4, '', ''
if states % 1 ~= 0 then
  states = states - 0.5
  now_ms, asked = unpack(ARGV, #ARGV - 1)
end
local ruled, holds = count + states + 1, count + states + 1

-- @include now
if now_s < ARGV[2] or now_s >= ARGV[3] then return 'STALE ' .. now_s end
local now = now_s * 1000 + (us - us % 1000) / 1000
local texts = call('MGET', unpack(KEYS, 1, ruled))
local ruling, blocked = '', nil
if texts[ruled] then
  local limit_args, state_args = nil, 3
  -- @include ruled
end

local reply = { 'OK', now_s, us }
for i = 1, states do
  local key, text = KEYS[count + i], texts[count + i]
  local amount, limit, span_us, how = unpack(ARGV, 4 * i, 3 + 4 * i)
  if not text and call('EXISTS', key) == 1 then return redis.error_reply('COSTGUARD_CORRUPT ' .. key .. ' does not hold what a rate is kept in') end
  local now_us, fits, said = now_s * 1e6 + us, nil, nil
  if how == 'sliding' then
    -- @include sliding
    fits, said = sliding(text, now_us, amount + 0, limit + 0, span_us + 0, true)
  elseif how == 'log' then
    -- @include log
    fits, said = log(text, now_us, amount + 0, limit + 0, span_us + 0, true)
  else
    -- @include rate
    fits, said = rate(text, now_us, amount + 0, limit + 0, span_us, how, true)
  end
  if not fits then return redis.error_reply('COSTGUARD_CORRUPT ' .. key .. ' does not hold what a rate is kept in') end
  reply[#reply + 1] = said
end
for i = 1, count do
  local text = texts[i]
  -- MGET passes over a key of another type as if it were not there.
  if not text and call('EXISTS', KEYS[i]) == 0 then text = '0' end
  if text ~= '0' and not (text and find(text, '^-?[1-9]%d*$')) then
    return redis.error_reply('COSTGUARD_CORRUPT ' .. KEYS[i] .. ' does not hold an integer')
  end
  if #text > 18 then
    -- @include integer
    if not wide_add(text, '0', '') then return redis.error_reply('COSTGUARD_CORRUPT ' .. KEYS[i] .. ' does not hold a 64-bit integer') end
  end
  local stored, open = call('HGETALL', KEYS[holds + i]), {}
  for j = 1, #stored, 2 do
    local bucket_ms = tonumber(stored[j])
    if bucket_ms and find(stored[j + 1], '^%d+$') then
      if bucket_ms > now then open[#open + 1] = { bucket_ms, stored[j], stored[j + 1] } end
    elseif stored[j] ~= 'next' then
      return redis.error_reply('COSTGUARD_CORRUPT ' .. KEYS[holds + i] .. ' does not hold amounts by time')
    end
  end
  -- Servers keep hashes in different orders.
  table.sort(open, function(one, other) return one[1] < other[1] end)
  reply[#reply + 1], reply[#reply + 2] = text, #open
  for j = 1, #open do
    reply[#reply + 1], reply[#reply + 2] = open[j][2], open[j][3]
  end
end
return table.concat(reply, ' ') .. ruling
