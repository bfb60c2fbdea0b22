#!lua flags=no-writes
-- holds: reads, of some holds, those that are open and still count.
-- KEYS    hold...
-- ARGV    [now_ms]
-- REPLY   OPEN now_ms (place record)...
-- ERRORS  (none)
-- COST    TIME and one MGET

-- A hold counts until its bucket ends, which is at or after its expiry. `place` is the place of its key, from 1; a line feed
-- parts one record from the next, for a record is several words.
local now_ms, open = ARGV[1], {}
local records = redis.call('MGET', unpack(KEYS))
local now
if now_ms then
  now = now_ms + 0
else
  local time = redis.call('TIME')
  local us = time[1] * 1e6 + time[2]
  now = (us - us % 1000) / 1000
end
for i = 1, #KEYS do
  local bucket_ms = records[i] and string.match(records[i], '^open %S+ %d+ %d+ %d+ (%d+) ')
  if bucket_ms and bucket_ms + 0 > now then open[#open + 1] = i .. ' ' .. records[i] end
end
return 'OPEN ' .. now .. ' ' .. table.concat(open, '\n')
