#!lua
-- session_create: stores a session under the generation of its user's sessions.
-- KEYS    session, generation
-- ARGV    record, ttl_ms, most_ms, fresh
-- REPLY   OK
-- ERRORS  CORRUPT INVALID
-- COST    TIME, a GET, a PSETEX, a SET or a PEXPIRE

-- A session is valid as long as its generation is its user's, so one DEL ends them all, also one that is being made. `fresh`
-- becomes the generation where there is none; it never comes twice. `most_ms` is the longest that the session can live.
-- What is stored: generation, end in ms, record.

local call, find, KEYS, ARGV = redis.call, string.find, KEYS, ARGV
local session, generation_key, record, ttl_ms, most_ms, fresh = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
for i = 2, 3 do
  if not find(ARGV[i], '^[1-9]%d*$') or #ARGV[i] > 12 then return redis.error_reply('COSTGUARD_INVALID ttl_ms') end
end
if not find(fresh, '^%w+$') then return redis.error_reply('COSTGUARD_INVALID generation') end

local generation = call('GET', generation_key)
if generation and not find(generation, '^%w+$') then
  return redis.error_reply('COSTGUARD_CORRUPT ' .. generation_key .. ' does not hold a generation')
end
local time = call('TIME')
local ends_ms = time[1] * 1000 + math.floor(time[2] / 1000) + most_ms
if not generation then
  generation = fresh
  call('SET', generation_key, generation, 'PX', most_ms)
elseif call('PTTL', generation_key) < most_ms + 0 then
  call('PEXPIRE', generation_key, most_ms)
end
call('PSETEX', session, ttl_ms, string.format('%s %.0f %s', generation, ends_ms, record))
return 'OK'
