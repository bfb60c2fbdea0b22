-- Writes what the decision made of the states.
for i = 1, states do
  local key, kept = KEYS[state_keys + i], keep[i]
  if kept and ARGV[state_args + 4 * i] == 'warn' then
    -- @include expiry
    call('SET', key, texts[state_keys + i])
    expire(key, kept, true, now_ms)
  elseif kept and kept ~= '0' then
    call('PSETEX', key, kept, texts[state_keys + i])
  end
end
