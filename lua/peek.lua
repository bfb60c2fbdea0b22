#!lua flags=no-writes
-- peek: reads counters and what is held beside them, and changes nothing.
-- KEYS    counter..., holds...
-- ARGV    latest_start_ms, earliest_end_ms, [now_ms]
-- REPLY   OK now_ms (used buckets (bucket_ms held)...)...
-- REPLY   STALE now_ms
-- ERRORS  CORRUPT
-- COST    TIME, one MGET and an HGETALL a counter

-- `buckets` counts the buckets that follow: how much is held until when, soonest first. Those that have ended are left out.

-- @include problem
local latest_start_ms, earliest_end_ms, now_ms = ARGV[1], ARGV[2], ARGV[3]
local count = #KEYS / 2

-- Windows begin and end on whole seconds, so whole seconds decide.
local now = now_ms and now_ms + 0 or redis.call('TIME')[1] * 1000
if now < latest_start_ms + 0 or now >= earliest_end_ms + 0 then return 'STALE ' .. now end

local texts = redis.call('MGET', unpack(KEYS, 1, count))
local reply = { 'OK', now }
for i = 1, count do
  local text = texts[i]
  -- MGET passes over a key of another type as if it were not there.
  if not text and redis.call('EXISTS', KEYS[i]) == 0 then text = '0' end
  if text ~= '0' and not (text and string.find(text, '^-?[1-9]%d*$')) then
    return problem('CORRUPT', KEYS[i] .. ' does not hold an integer')
  end
  if #text > 18 then
    -- @include integer
    if not wide_add(text, '0', '') then return problem('CORRUPT', KEYS[i] .. ' does not hold a 64-bit integer') end
  end
  local stored, open = redis.call('HGETALL', KEYS[count + i]), {}
  for j = 1, #stored, 2 do
    local bucket_ms = tonumber(stored[j])
    if bucket_ms and string.find(stored[j + 1], '^%d+$') then
      if bucket_ms > now then open[#open + 1] = { bucket_ms, stored[j + 1] } end
    elseif stored[j] ~= 'next' then
      return problem('CORRUPT', KEYS[count + i] .. ' does not hold amounts by time')
    end
  end
  -- Servers keep hashes in different orders.
  table.sort(open, function(one, other) return one[1] < other[1] end)
  reply[#reply + 1], reply[#reply + 2] = text, #open
  for j = 1, #open do
    reply[#reply + 1], reply[#reply + 2] = open[j][1], open[j][2]
  end
end
return table.concat(reply, ' ')
