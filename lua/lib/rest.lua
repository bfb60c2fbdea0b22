-- Puts all that is left of the tightest limit in the place of every amount `rest` in ARGV, and gives that amount. Where
-- nothing is left it asks for 1, which is refused with the reasons.
local function fill_rest(texts, count, now)
  local least
  for i = 1, count do
    local limit = ARGV[2 + 3 * i]
    if ARGV[3 * i] == 'rest' and limit ~= '' then
      local used, live = texts[i] or '0', '0'
      if not string.find(used, '^-?%d+$') then return nil, problem('CORRUPT', KEYS[i] .. ' does not hold an integer') end
      local stored = redis.call('HGETALL', KEYS[#KEYS - count + i])
      for j = 1, #stored, 2 do
        if stored[j] ~= 'next' and tonumber(stored[j]) > now then live = wide_add(live, stored[j + 1], '') or '9223372036854775807' end
      end
      local spent = wide_add(used, live, '')
      local left = spent and wide_add(limit, '-' .. spent, '') or '0'
      if string.byte(left) == 45 or left == '0' then left = '1' end
      local _, fits = wide_add(left, '0', least or '')
      if fits then least = left end
    end
  end
  if not least then return nil, problem('INVALID', 'the amount `rest` needs a limit to be the rest of') end
  for i = 1, count do
    if ARGV[3 * i] == 'rest' then ARGV[3 * i] = least end
  end
  return least
end
