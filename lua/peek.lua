#!lua flags=no-writes
-- peek: reads counters and changes nothing.
-- KEYS    counter...
-- ARGV    latest_start_ms, earliest_end_ms, [now_ms]
-- REPLY   OK now_ms used...
-- REPLY   STALE now_ms
-- ERRORS  CORRUPT
-- COST    TIME and one MGET

-- @include problem
local latest_start_ms, earliest_end_ms, now_ms = ARGV[1], ARGV[2], ARGV[3]

-- Windows begin and end on whole seconds, so whole seconds decide.
local now = now_ms and now_ms + 0 or redis.call('TIME')[1] * 1000
if now < latest_start_ms + 0 or now >= earliest_end_ms + 0 then return { 'STALE', now } end

local texts = redis.call('MGET', unpack(KEYS))
local reply = { 'OK', now }
for i = 1, #KEYS do
  local text = texts[i]
  if not text and redis.call('EXISTS', KEYS[i]) == 0 then text = '0' end
  if text ~= '0' and not (text and string.find(text, '^-?[1-9]%d*$')) then
    return problem('CORRUPT', KEYS[i] .. ' does not hold an integer')
  end
  if #text > 18 then
    -- @include integer
    if not wide_add(text, '0', '') then return problem('CORRUPT', KEYS[i] .. ' does not hold a 64-bit integer') end
  end
  reply[i + 2] = text
end
return reply
