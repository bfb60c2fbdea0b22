-- A hold's record: 'STATE FINGERPRINT STEP RESERVED_MS EXPIRES_MS BUCKET_MS TAGS', then 'KEY AMOUNT LIMIT' a counter; once
-- the hold has ended ' | ' and how, which makes the record its receipt. STEP counts how often it grew.
local function read_hold(key)
  local record = redis.call('GET', key)
  if not record then
    return nil, problem('UNKNOWN_HOLD', 'there is no hold ' .. key .. ': it was never made, or ended too long ago')
  end
  local hold = {}
  hold.state, hold.fingerprint, hold.step, hold.reserved_ms, hold.expires_ms, hold.bucket_ms, hold.tags, hold.rest =
    string.match(record, '^(%l+) (%S+) (%d+) (%d+) (%d+) (%d+) (%S+) (.*)$')
  if not hold.state then return nil, problem('CORRUPT', key .. ' does not hold a hold') end
  return hold
end

-- Its amounts, 1 up; nil and an error unless it counts against exactly the counters in KEYS, `count` from `first` on.
-- `suffix` is what the keys have behind the counter's.
local function read_amounts(hold, first, count, suffix)
  local amounts, limits = {}, {}
  for counter, amount, limit in string.gmatch(hold.rest, '(%S+) (%d+) (%S+)') do
    amounts[#amounts + 1], limits[#limits + 1] = amount, limit
    if counter .. suffix ~= KEYS[first + #amounts - 1] then return nil, problem('INVALID', 'these are not the keys of the hold') end
  end
  if #amounts ~= count then return nil, problem('INVALID', 'these are not the keys of the hold') end
  return amounts, limits
end

local function write_hold(key, hold, rest, ttl_ms)
  local record = { hold.state, hold.fingerprint, hold.step, hold.reserved_ms, hold.expires_ms, hold.bucket_ms, hold.tags, rest }
  redis.call('SET', key, table.concat(record, ' '), 'PX', ttl_ms)
end
