-- Writes what the decision made of the states.
for i = 1, states do
  local key, kept = KEYS[state_keys + i], keep[i]
  if kept and ARGV[state_args + 4 * i] == 'warn' then
    -- @include expiry
    call('SET', key, texts[state_keys + i])
    expire(key, kept, true, now_ms)
  elseif kept and kept ~= '0' then
    -- An injected time may go by more slowly than the store's, by which keys end: that of busy traffic that is replayed.
    call('PSETEX', key, now_ms == '' and kept or string.format('%d', math.max(kept, 3600000)), texts[state_keys + i])
  end
end
