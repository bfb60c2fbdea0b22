-- A partial amount: '<500' is 500 or what there is, '<' all that there is, for which a limit has to refuse something. Puts the
-- same in the place of every amount that asks for it, and gives it. Where nothing is left it asks for 1, which is refused with
-- the reasons.
local function fill(asked)
  -- @include integer
  local least = string.sub(asked, 2)
  local bound = least ~= ''
  local function at_most(left)
    bound = true
    if string.byte(left) == 45 or left == '0' then left = '1' end
    local _, fits = wide_add(left, '0', least)
    if fits then least = left end
  end

  for i = 1, count do
    local limit = ARGV[amounts + 2 * i]
    -- A limit with a plus refuses nothing.
    if ARGV[amounts + 2 * i - 1] == asked and find(limit, '^%d') and least ~= '0' then
      local used, live = texts[i] or '0', '0'
      if not find(used, '^-?%d+$') then return nil, redis.error_reply('COSTGUARD_CORRUPT ' .. KEYS[i] .. ' does not hold an integer') end
      local stored = call('HGETALL', KEYS[holds + i])
      for j = 1, #stored, 2 do
        local bucket_ms, amount = tonumber(stored[j]), stored[j + 1]
        if bucket_ms and find(amount, '^%d+$') then
          if bucket_ms > now_s * 1000 + us / 1000 then live = wide_add(live, amount, '') or '9223372036854775807' end
        elseif stored[j] ~= 'next' then
          return nil, redis.error_reply('COSTGUARD_CORRUPT ' .. KEYS[holds + i] .. ' does not hold amounts by time')
        end
      end
      local spent = wide_add(used, live, '')
      -- A counter below zero has more room than its limit.
      local minus = spent and (string.byte(spent) == 45 and string.sub(spent, 2) or '-' .. spent)
      at_most(not minus and '0' or wide_add(limit, minus, '') or '9223372036854775807')
    end
  end
  for i = 1, states do
    local at, text, now_us = amounts + 2 * count + 4 * (i - 1), texts[2 * count + i], now_s * 1e6 + us
    local limit, span_us, how = ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
    if ARGV[at + 1] == asked and find(limit, '^%d') and least ~= '0' then
      local fits, said, parts, most, _ = nil, nil, nil, limit + 0, nil
      if how == 'sliding' then
        -- @include sliding
        fits, said = sliding(text, now_us, 0, most, span_us + 0, true)
      elseif how == 'log' then
        -- @include log
        fits, said = log(text, now_us, 0, most, span_us + 0, true)
      else
        -- @include rate
        fits, said, _, _, parts = rate(text, now_us, 0, most, span_us, how, true)
        if how ~= '' and most > 0 then most = how + 0 end
      end
      if not fits then return nil, redis.error_reply('COSTGUARD_CORRUPT ' .. KEYS[2 * count + i] .. ' does not hold what a rate is kept in') end
      local used = parts and (parts + -parts % span_us) / span_us or string.match(said, '^%d+')
      at_most(string.format('%.0f', math.min(most - used, 9e15)))
    end
  end
  if not bound then return nil, redis.error_reply('COSTGUARD_INVALID the amount ' .. asked .. ' needs a limit to be a part of') end
  for i = amounts + 1, #ARGV do
    if ARGV[i] == asked then ARGV[i] = least end
  end
  return least
end
