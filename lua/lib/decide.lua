-- The decision of admit, reserve and grow: one piece of each and no function, for every call would pay for making one. It
-- reads `call`, `find`, `count`, `now`, `touch` and `texts`: what the counters hold (1 up) and what is held beside them
-- (count + 1 up; false when nothing was yet). It replies by itself when a limit refuses. Otherwise it leaves in `texts` what
-- is still held, in `holding` whether anything was, and in `fresh` whether a counter was missing.
local holding, fresh, ended, frees, refusing, checked, adds
for i = 1, count do
  local used, held, amount, limit = texts[i], texts[count + i], ARGV[3 * i], ARGV[2 + 3 * i]
  if amount ~= checked then
    if amount ~= '0' and not find(amount, '^[1-9]%d*$') then return problem('INVALID', 'amount ' .. i) end
    checked, adds = amount, amount + 0
  end
  if not used or used == '0' or touch ~= '' then
    local expiry = tonumber(ARGV[1 + 3 * i])
    if not (expiry and expiry >= 1 and expiry <= 9e15) then return problem('INVALID', 'expiry ' .. i) end
    -- MGET passes over a key of another type as if it were not there.
    if not used and call('EXISTS', KEYS[i]) == 0 then used, texts[i], fresh = '0', '0', true end
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
    if not after or not sum then
      if not wide_add(used, '0', '') then return problem('CORRUPT', KEYS[i] .. ' does not hold a 64-bit integer') end
      return problem('OVERFLOW', KEYS[i] .. ' would leave the 64-bit range')
    end
  elseif limit ~= '' then
    fits = sum <= limit + 0
  end
  if not fits and held then
    -- @include buckets
    local gone, fields, next_ms = ended_buckets(KEYS[#KEYS - count + i], now, held)
    if gone == false then return fields end
    local _, fits_alone = nil, type(after) == 'number' and after <= limit + 0
    if type(after) ~= 'number' then _, fits_alone = wide_add(after, '0', limit) end
    if gone then
      ended = ended or {}
      ended[i] = { gone, fields, next_ms }
      local live, spent = wide_add(held, '-' .. gone, ''), type(after) == 'number' and string.format('%.0f', after) or after
      _, fits = wide_add(spent, live, limit)
    end
    frees = frees or {}
    frees[i] = fits_alone and next_ms or -1
  end
  if not fits then refusing = refusing and refusing .. ',' .. i or tostring(i) end
end
if holding then
  for i = 1, count do
    local holds, sweep = KEYS[#KEYS - count + i], ended and ended[i]
    texts[count + i] = texts[count + i] or '0'
    -- Holds that were settled or extended leave a `next` behind that is over: the true one spares the next look.
    if sweep and (#sweep[2] > 0 or sweep[3] ~= '-1') then call('HSET', holds, 'next', sweep[3]) end
    -- Holds that have ended count no more, whatever is decided: what is left of them goes now.
    if sweep and #sweep[2] > 0 then
      -- Lua unpacks some 8,000 at once.
      for from = 1, #sweep[2], 1000 do
        call('HDEL', holds, unpack(sweep[2], from, math.min(from + 999, #sweep[2])))
      end
      call('DECRBY', KEYS[count + i], sweep[1])
      texts[count + i] = wide_add(texts[count + i], '-' .. sweep[1], '')
    end
    texts[2 * count + i] = frees and frees[i] or -1
  end
end
if refusing then
  return 'DENIED ' .. now .. ' ' .. refusing .. ' ' .. table.concat(texts, ' ', 1, holding and 3 * count or count)
end
