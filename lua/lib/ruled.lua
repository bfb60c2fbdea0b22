-- Overrides and blocks: there are some under this root. They lie in a hash, `rules`: 'LIMIT UNTIL_MS' under the name of a
-- limit, 'UNTIL_MS' under 'block SCOPE'. `asked` names those that concern this request, a line each: 'OVERDRAFT NAME' for
-- every limit in order, 'block SCOPE' for every scope. `limit_args` and `state_args` are where limits stand in ARGV. A
-- caller that named none is told that there are some. Leaves the limits as they are now in ARGV, and what the reply has to
-- say about it in `ruling`: ' | PLACE LIMIT UNTIL_MS' each, ' ! SCOPE UNTIL_MS' each.
if asked == '' then return 'RULED ' .. now_s end
local names, overdrafts, places, last = {}, {}, {}, count
for i = 1, limit_args and count or 0 do places[i] = limit_args + 2 * i end
for i = 1, states do
  if ARGV[state_args + 4 * i] ~= 'warn' then
    last = last + 1
    places[last] = state_args + 4 * i - 2
  end
end
for asking in string.gmatch(asked, '[^\n]+') do
  local overdraft, name = string.match(asking, '^(%d+) (.*)$')
  names[#names + 1], overdrafts[#names + 1] = name or asking, overdraft
end
-- @include integer
local rules, overrides, blocks = call('HMGET', KEYS[holds + count + 1], unpack(names)), '', ''
for i = 1, #names do
  local rule, overdraft, place = rules[i], overdrafts[i], places[i]
  local until_ms = rule and tonumber(string.match(rule, '%d+$') or '')
  if until_ms and until_ms * 1000 > now_s * 1e6 + us then
    local ends = ' ' .. string.format('%d', until_ms)
    if overdraft then
      local limit = string.match(rule, '^%d+')
      overrides = overrides .. ' ' .. i .. ' ' .. limit .. ends
      if place then
        local shadow = string.byte(ARGV[place]) == 43 and '+' or ''
        ARGV[place] = shadow .. (wide_add(limit, overdraft, '') or '9223372036854775807')
      end
    else
      blocked, blocks = true, blocks .. ' ' .. string.sub(names[i], 7) .. ends
    end
  end
end
if overrides ~= '' then ruling = ' |' .. overrides end
if blocks ~= '' then ruling = ruling .. ' !' .. blocks end
