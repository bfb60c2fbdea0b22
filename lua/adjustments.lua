#!lua flags=no-writes
-- adjustments: reads the corrections made to one counter, oldest first.
-- KEYS    journal
-- ARGV    journal_size
-- REPLY   OK note...
-- ERRORS  CORRUPT
-- COST    O(journal_size): an HGET a note

-- @include problem
local journal, journal_size = KEYS[1], ARGV[1] + 0

local noted = redis.pcall('HGET', journal, 'n') or '0'
if type(noted) ~= 'string' or not string.find(noted, '^%d+$') then
  return problem('CORRUPT', journal .. ' is not a journal')
end
local reply = { 'OK' }
for number = math.max(noted - journal_size, 0), noted - 1 do
  reply[#reply + 1] = redis.call('HGET', journal, string.format('%.0f', number % journal_size)) or ''
end
return reply
