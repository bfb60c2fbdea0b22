-- The decision of admit, reserve and grow: one piece of each and no function, for every call would pay for making one. It
-- reads `call`, `find`, `count`, `states`, `holds`, `amounts` (the place before the first amount in ARGV), `expiries`,
-- `reserving`, `now_s`, `us`, `touch`, what `ruled` left, and `texts`: what the counters hold (1 up), what is held beside
-- them (count + 1 up) and the states (2 * count + 1 up), false where nothing was. It replies by itself when a limit refuses.
-- Otherwise it leaves `part`, `shadowed` and `words` for the reply, in `holding` whether anything is held, in `fresh` whether a
-- counter was missing, in `lives` when counters end (nil when nobody asked yet), and in `texts` and `keep` what the states
-- become and for how long.
local holding, gaps, fresh, lives, part, shadowed = false, false, false, nil, '-', '-'
local words, refusing, checked, adds, sums, ended, frees, keep = '', blocked and '0', nil, nil, nil, nil, nil, nil
local at, state_keys, state_args, forced = amounts, nil, nil, nil
if states > 0 then
  state_keys, state_args = 2 * count, amounts + 2 * count
  -- Marks of warnings come last, and ask what counters come to.
  if ARGV[state_args + 4 * states] == 'warn' then sums = {} end
end
-- Holds that have ended count no more, for warnings neither. Elsewhere they are looked for now and then, so that they do not pile
-- up, and where a limit refuses.
local looks = sums or touch ~= ''
for i = 1, count do
  local used, held, amount, limit = texts[i], texts[count + i], ARGV[at + 1], ARGV[at + 2]
  at = at + 2
  if amount ~= checked then
    if amount ~= '0' and not find(amount, '^[1-9]%d*$') then
      if not find(amount, '^<%d*$') then return redis.error_reply('COSTGUARD_INVALID amount ' .. i) end
      -- @include part
      local err
      amount, err = fill(amount)
      if err then return err end
      part = amount
    end
    checked, adds = amount, amount + 0
  end
  if not used or touch ~= '' or (used == '0' and not reserving) then
    -- @include lives
    lives = lives or ends(expiries)
    if not lives[i] then return redis.error_reply('COSTGUARD_INVALID expiry ' .. i) end
    -- MGET passes over a key of another type as if it were not there.
    if not used and call('EXISTS', KEYS[i]) == 0 then used, texts[i], fresh = '0', '0', true end
    used = used or ''
  end
  if used ~= '0' and not find(used, '^-?[1-9]%d*$') then
    return redis.error_reply('COSTGUARD_CORRUPT ' .. KEYS[i] .. ' does not hold an integer')
  end
  local after, fits = used + adds, true
  local sum = after
  if held then
    if held ~= '0' and not find(held, '^[1-9]%d*$') then
      return redis.error_reply('COSTGUARD_CORRUPT ' .. KEYS[count + i] .. ' does not hold an amount')
    end
    holding = true
    sum = after + held
  else
    gaps = true
    if reserving and call('EXISTS', KEYS[count + i]) == 1 then
      return redis.error_reply('COSTGUARD_CORRUPT ' .. KEYS[count + i] .. ' does not hold an amount')
    end
  end
  -- Amounts and what is held are not negative: one that a number does not hold exactly makes a sum that is past this.
  if sum >= 1e14 or #used > 14 then
    -- @include integer
    after = wide_add(used, amount, '')
    if after then sum, fits = wide_add(after, held or '0', limit) end
    if not after or not sum or (reserving and not wide_add(held or '0', amount, '')) then
      if not wide_add(used, '0', '') then return redis.error_reply('COSTGUARD_CORRUPT ' .. KEYS[i] .. ' does not hold a 64-bit integer') end
      return redis.error_reply('COSTGUARD_OVERFLOW ' .. KEYS[i] .. ' would leave the 64-bit range')
    end
  elseif limit ~= '' then
    fits = sum <= limit + 0
  end
  if held and (looks or not fits) then
    -- @include integer
    -- @include buckets
    local gone, fields, next_ms = ended_buckets(KEYS[holds + i], now_s * 1000 + (us - us % 1000) / 1000, held, not fits)
    if gone == false then return fields end
    local spent = type(after) == 'number' and string.format('%.0f', after) or after
    if not fits then
      local _, fits_alone = wide_add(spent, '0', limit)
      frees = frees or {}
      frees[i] = fits_alone and next_ms or '-1'
    end
    if gone then
      ended = ended or {}
      ended[i] = { gone, fields, next_ms }
      sum, fits = wide_add(spent, wide_add(held, '-' .. gone, ''), limit)
    end
  end
  if sums then sums[i] = sum end
  if not fits then
    -- A limit with a plus only says so.
    if string.byte(limit) == 43 then
      shadowed = shadowed == '-' and tostring(i) or shadowed .. ',' .. i
    else
      refusing = refusing and refusing .. ',' .. i or tostring(i)
    end
  end
end
if states > 0 then
  -- @include states
end
if holding and (gaps or ended) then
  for i = 1, count do
    local holds_key, sweep = KEYS[holds + i], ended and ended[i]
    texts[count + i] = texts[count + i] or '0'
    -- The true `next` spares the next look.
    if sweep and (#sweep[2] > 0 or sweep[3] ~= '-1') then call('HSET', holds_key, 'next', sweep[3]) end
    -- Holds that have ended count no more, whatever is decided: what is left of them goes now.
    if sweep and #sweep[2] > 0 then
      -- Lua unpacks some 8,000 at once.
      for from = 1, #sweep[2], 1000 do
        call('HDEL', holds_key, unpack(sweep[2], from, math.min(from + 999, #sweep[2])))
      end
      -- @include integer
      call('DECRBY', KEYS[count + i], sweep[1])
      texts[count + i] = wide_add(texts[count + i], '-' .. sweep[1], '')
    end
  end
end
if refusing then
  local said = { 'DENIED', now_s, us, refusing }
  said[5] = words .. table.concat(texts, ' ', 1, holding and 2 * count or count)
  for i = 1, holding and count or 0 do said[5 + i] = frees and frees[i] or '-1' end
  return table.concat(said, ' ') .. ruling
end
