#!lua
-- admit_rate: takes an amount from one rate if it fits: admit for a policy of one GCRA rate and nothing else.
-- KEYS    state, ruled
-- ARGV    amount, limit, span_us, burst
-- REPLY   GRANTED now_s us part shadowed state
-- REPLY   DENIED now_s us refusing state
-- REPLY   RULED now_s
-- ERRORS  CORRUPT INVALID
-- COST    one MGET, TIME, and when granted a PSETEX

-- Word for word what admit answers to the same rate, in four fifths of its time: most calls in front of a service are this one.
-- What has an id, a part, a rule or a time of its own goes to admit.

local call, KEYS, ARGV, now_ms = redis.call, KEYS, ARGV, ''
local texts = call('MGET', KEYS[1], KEYS[2])
-- @include now
if texts[2] then return 'RULED ' .. now_s end
local key, text, amount, limit = KEYS[1], texts[1], ARGV[1], ARGV[2]
if amount ~= '1' and amount ~= '0' and not string.find(amount, '^[1-9]%d*$') then return redis.error_reply('COSTGUARD_INVALID amount 1') end
-- @include rate
local fits, said, after, keep_ms = rate(text, now_s * 1e6 + us, amount + 0, limit + 0, ARGV[3], ARGV[4])
-- MGET passes over a key of another type as if it were not there.
if fits == nil or (not text and call('EXISTS', key) == 1) then
  return redis.error_reply('COSTGUARD_CORRUPT ' .. key .. ' does not hold what a rate is kept in')
end
if fits then
  if keep_ms ~= '0' then call('PSETEX', key, keep_ms, after) end
  return 'GRANTED ' .. now_s .. ' ' .. us .. ' - - ' .. said .. ' '
end
-- A limit with a plus only says so.
if string.byte(limit) == 43 then return 'GRANTED ' .. now_s .. ' ' .. us .. ' - 1 ' .. said .. ' ' end
return 'DENIED ' .. now_s .. ' ' .. us .. ' 1 ' .. said .. ' '
