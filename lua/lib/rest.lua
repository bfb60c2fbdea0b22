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
        local bucket_ms, amount = tonumber(stored[j]), stored[j + 1]
        if bucket_ms and string.find(amount, '^%d+$') then
          if bucket_ms > now then live = wide_add(live, amount, '') or '9223372036854775807' end
        elseif stored[j] ~= 'next' then
          return nil, problem('CORRUPT', KEYS[#KEYS - count + i] .. ' does not hold amounts by time')
        end
      end
      local spent = wide_add(used, live, '')
      -- A counter below zero has more room than its limit.
      local minus = spent and (string.byte(spent) == 45 and string.sub(spent, 2) or '-' .. spent)
      local left = minus and wide_add(limit, minus, '') or '0'
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
