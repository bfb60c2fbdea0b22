-- `ttl_ms` as a text: as it was given, or what is left of the window.
if ttl_ms == '' then
  ttl_ms = string.format('%.0f', end_s * 1000 - now_s * 1000 - math.floor(us / 1000))
elseif not find(ttl_ms, '^[1-9]%d*$') or #ttl_ms > 15 then
  return redis.error_reply('COSTGUARD_INVALID ttl_ms')
end
