#!lua
-- rule: overrides a limit, or blocks a scope, until a time; or lifts that.
-- KEYS    rules, ruled
-- ARGV    name, limit, until_ms, now_ms
-- REPLY   OK
-- ERRORS  INVALID
-- COST    TIME, an HGETALL, HSET or HDEL, PEXPIRE and SET

-- `name` and `limit` are as in lib/ruled: a block has an empty limit. `until_ms` with a plus is a span from now on; empty, it
-- lifts the rule. `ruled` is there as long as any rule is, so that a decision need read no more than that where there is none.

local call, find = redis.call, string.find
local rules, ruled, name, limit, until_ms, now_ms = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
-- @include now
local now = now_s * 1000 + us / 1000
if not find(name, ' ', 1, true) then return redis.error_reply('COSTGUARD_INVALID the name of a rule has two words at least') end
if find(until_ms, '^%+%d+$') and #until_ms <= 16 then
  -- 1e14 ms lie in the year 5138.
  until_ms = string.format('%d', math.min(math.floor(now) + string.sub(until_ms, 2), 1e14))
end
if until_ms ~= '' and (not find(until_ms, '^%d+$') or #until_ms > 15 or until_ms + 0 <= now) then
  return redis.error_reply('COSTGUARD_INVALID a rule ends at a time that is to come')
end
if limit ~= '' and (not find(limit, '^%d+$') or #limit > 19) then return redis.error_reply('COSTGUARD_INVALID limit') end

-- What is not a hash fails here, before anything is written.
local stored, last_ms, count = call('HGETALL', rules), 0, 0
for i = 1, #stored, 2 do
  local ends_ms = tonumber(string.match(stored[i + 1], '%d+$') or '') or 0
  if stored[i] ~= name and ends_ms > now then
    count, last_ms = count + 1, math.max(last_ms, ends_ms)
  end
end
if until_ms ~= '' then
  if count >= 10000 then return redis.error_reply('COSTGUARD_INVALID there are 10,000 rules under this root; lift some') end
  call('HSET', rules, name, limit == '' and until_ms or limit .. ' ' .. until_ms)
  last_ms = math.max(last_ms, until_ms)
end
for i = 1, #stored, 2 do
  local ends_ms = tonumber(string.match(stored[i + 1], '%d+$') or '') or 0
  if stored[i] == name and until_ms == '' or stored[i] ~= name and ends_ms <= now then call('HDEL', rules, stored[i]) end
end
if last_ms == 0 then
  call('DEL', rules, ruled)
else
  local left_ms = string.format('%d', last_ms - now + 1)
  call('PEXPIRE', rules, left_ms)
  call('SET', ruled, '1', 'PX', left_ms)
end
return 'OK'
