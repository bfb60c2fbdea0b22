#!lua flags=no-writes
-- adjustments: reads the corrections made to one counter, oldest first.
-- KEYS    journal
-- ARGV    latest_start_ms, earliest_end_ms, journal_size, [now_ms]
-- REPLY   OK note...
-- REPLY   STALE now_s
-- ERRORS  CORRUPT
-- COST    TIME and an HGET a note

-- A note is a line of its own.

local journal = KEYS[1]
local latest_start_ms, earliest_end_ms, journal_size, now_ms = ARGV[1], ARGV[2], ARGV[3] + 0, ARGV[4]

-- Windows begin and end on whole seconds, so whole seconds decide.
local now = now_ms and now_ms + 0 or redis.call('TIME')[1] * 1000
if now < latest_start_ms + 0 or now >= earliest_end_ms + 0 then return string.format('STALE %d', now / 1000) end

local noted = redis.pcall('HGET', journal, 'n') or '0'
-- A number so large that adding 1 does not change it would keep the loop below going for ever.
if type(noted) ~= 'string' or not string.find(noted, '^%d+$') or #noted > 14 then
  return redis.error_reply('COSTGUARD_CORRUPT ' .. journal .. ' is not a journal')
end
local reply = { 'OK' }
for number = math.max(noted - journal_size, 0), noted - 1 do
  reply[#reply + 1] = redis.call('HGET', journal, string.format('%.0f', number % journal_size)) or ''
end
return table.concat(reply, '\n')
