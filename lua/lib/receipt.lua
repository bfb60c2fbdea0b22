-- Receipts: what an operation with an id answered, stored as 'FINGERPRINT REPLY', so that sending it again answers the same
-- and does nothing. The fingerprint tells a repeat from another request under the same id.

-- The reply to give instead of acting: what was answered before, or an error; nil when the id is new and `stored` false.
local function replayed(stored, fingerprint, ttl_ms)
  if not string.find(fingerprint, '^[^ ]+$') then return redis.error_reply('COSTGUARD_INVALID the fingerprint is not one word') end
  if not string.find(ttl_ms, '^[1-9]%d*$') or #ttl_ms > 15 then return redis.error_reply('COSTGUARD_INVALID receipt_ttl_ms') end
  if not stored then return nil end
  local length = #fingerprint + 1
  if string.sub(stored, 1, length) == fingerprint .. ' ' then return 'REPLAY ' .. string.sub(stored, length + 1) end
  return redis.error_reply('COSTGUARD_CONFLICT this operation id was used for a different request; use a new id')
end
