-- Corrections of rates: what was taken at `at_us` turns out to be more (a positive change) or less. Gives what the states
-- become, a text and a TTL in ms each, or nil and an error; nothing is written yet. `keys` and `args` are the places before
-- the first state in KEYS and its (change, limit, span_us, how) in ARGV, where `how` of a bucket is '=PARTS', how full it was
-- then, if that is known, and its burst otherwise.
local function corrected(states, keys, args, now_us, at_us)
  local made = {}
  for i = 1, states do
    local key, text = KEYS[keys + i], redis.call('GET', KEYS[keys + i])
    local change, limit, span_us, how = unpack(ARGV, args + 4 * i - 3, args + 4 * i)
    if not string.find(change, '^-?%d+$') then return nil, redis.error_reply('COSTGUARD_INVALID change ' .. i) end
    local fits, _, after, keep_ms
    if how == 'sliding' then
      -- @include sliding
      fits, _, after, keep_ms = sliding(text, now_us, change + 0, limit + 0, span_us + 0, true, at_us)
    elseif how == 'log' then
      -- @include log
      fits, _, after, keep_ms = log(text, now_us, change + 0, limit + 0, span_us + 0, true, at_us)
    else
      -- @include rate
      local filled = string.match(how, '^=(%d+)$')
      fits, _, after, keep_ms = rate(text, now_us, change + 0, limit + 0, span_us, filled and '' or how, true, at_us, filled)
    end
    if not fits then return nil, redis.error_reply('COSTGUARD_CORRUPT ' .. key .. ' does not hold what a rate is kept in') end
    made[i] = { after, keep_ms }
  end
  return made
end

-- With an injected time they are kept as in lib/take.
local function write_states(made, keys, now_ms)
  for i = 1, #made do
    if made[i][2] == '0' then
      redis.call('DEL', KEYS[keys + i])
    else
      redis.call('PSETEX', KEYS[keys + i], now_ms == '' and made[i][2] or string.format('%d', math.max(made[i][2], 3600000)), made[i][1])
    end
  end
end
