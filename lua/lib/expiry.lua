-- Sets the TTL of a counter that was just written. `expiry` is a time in ms, '1790000000000', or a span in ms that every
-- write starts anew, '+86400000'. The first write sets it; a later one comes here when it was told to look, and finds
-- the TTL in place, to be renewed, or lost.
-- An injected time may lie long ago: then the key lives as long from the store's now as it would have from then.
local function expire(key, expiry, first, now_ms)
  if string.byte(expiry) == 43 then
    redis.call('PEXPIRE', key, string.format('%.0f', expiry))
  elseif first or redis.call('PTTL', key) == -1 then
    local past_ms = 0
    if now_ms ~= '' then
      local time = redis.call('TIME')
      past_ms = math.max(time[1] * 1000 + math.floor(time[2] / 1000) - now_ms, 0)
    end
    redis.call('PEXPIREAT', key, string.format('%.0f', expiry + past_ms))
  end
end
