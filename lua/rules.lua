#!lua flags=no-writes
-- rules: reads the overrides and blocks under a root.
-- KEYS    rules
-- ARGV    now_ms
-- REPLY   OK now_ms (rule)...
-- ERRORS  (none)
-- COST    TIME and an HGETALL

-- A rule is 'UNTIL_MS LIMIT NAME', or 'UNTIL_MS - block SCOPE'; a line feed parts one from the next. They come in the order of
-- their names, and those that have ended are left out.

local call, now_ms, found = redis.call, ARGV[1], {}
-- @include now
local now = now_s * 1000 + (us - us % 1000) / 1000
local stored = call('HGETALL', KEYS[1])
for i = 1, #stored, 2 do
  local limit, until_ms = string.match(stored[i + 1], '^(%d*) ?(%d+)$')
  if string.find(stored[i + 1], '^%d+$') then limit, until_ms = '-', stored[i + 1] end
  if until_ms and until_ms + 0 > now then found[#found + 1] = stored[i] .. '\n' .. until_ms .. ' ' .. limit .. ' ' .. stored[i] end
end
table.sort(found)
for i = 1, #found do found[i] = string.match(found[i], '\n(.*)$') end
return 'OK ' .. string.format('%d', now) .. ' ' .. table.concat(found, '\n')
