-- The decision of admit, reserve and grow. It is one piece of them and no function, for every call would pay for making one. It
-- reads `call`, `find`, `count`, `now` and `touch`, replies by itself when a limit refuses, and otherwise leaves
--   texts    what each counter holds (1 up) and what is held beside it (count + 1 up; false when nothing was yet)
--   holding  whether anything was
--   expired  nil, or by position: the sum of the holds that have ended and are still counted, and their buckets
local texts = call('MGET', unpack(KEYS, 1, 2 * count))
local holding, expired, frees, refusing, checked, adds
for i = 1, count do
  local used, held, amount, limit = texts[i], texts[count + i], ARGV[3 * i], ARGV[2 + 3 * i]
  if amount ~= checked then
    if amount ~= '0' and not find(amount, '^[1-9]%d*$') then return problem('INVALID', 'amount ' .. i) end
    checked, adds = amount, amount + 0
  end
  if not used or touch ~= '' then
    local expiry = tonumber(ARGV[1 + 3 * i])
    if not expiry or expiry < 1 or expiry > 9e15 then return problem('INVALID', 'expiry ' .. i) end
    -- MGET passes over a key of another type as if it were not there.
    if not used and call('EXISTS', KEYS[i]) == 0 then used, texts[i] = '0', '0' end
  end
  if used ~= '0' and not (used and find(used, '^-?[1-9]%d*$')) then
    return problem('CORRUPT', KEYS[i] .. ' does not hold an integer')
  end
  local after, fits = used + adds, true
  local sum = after
  if held then
    if held ~= '0' and not find(held, '^[1-9]%d*$') then
      return problem('CORRUPT', KEYS[count + i] .. ' does not hold an amount')
    end
    holding, sum = true, #held > 14 and 1e14 or after + held
  end
  if sum >= 1e14 or #used > 14 or #amount > 14 then
    after = wide_add(used, amount, '')
    if after then sum, fits = wide_add(after, held or '0', limit) end
    if not after or not sum then return problem('OVERFLOW', KEYS[i] .. ' would leave the 64-bit range') end
  elseif limit ~= '' then
    fits = sum <= limit + 0
  end
  if not fits and held then
    -- @include buckets
    local gone, fields, frees_ms = read_buckets(KEYS[#KEYS - count + i], now, after, held, limit)
    if not gone then return fields end
    expired, frees = expired or {}, frees or {}
    expired[i], frees[i], fits = { gone, fields }, frees_ms, frees_ms == 0
  end
  if not fits then refusing = refusing and refusing .. ',' .. i or tostring(i) end
end
if holding then
  for i = 1, count do
    local held = texts[count + i] or '0'
    texts[count + i] = expired and expired[i] and wide_add(held, '-' .. expired[i][1], '') or held
    texts[2 * count + i] = frees and frees[i] or -1
  end
end
if refusing then
  return 'DENIED ' .. now .. ' ' .. refusing .. ' ' .. table.concat(texts, ' ', 1, holding and 3 * count or count)
end
