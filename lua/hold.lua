#!lua flags=no-writes
-- hold: reads the record of a hold.
-- KEYS    hold
-- ARGV    (none)
-- REPLY   HELD record
-- ERRORS  UNKNOWN_HOLD
-- COST    a GET

local record = redis.call('GET', KEYS[1])
if not record then return redis.error_reply('COSTGUARD_UNKNOWN_HOLD there is no hold ' .. KEYS[1] .. ': it was never made, or ended too long ago') end
return 'HELD ' .. record
