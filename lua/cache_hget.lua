#!lua flags=no-writes
-- cache_hget: reads one field of a hash, or all.
-- KEYS    hash
-- ARGV    [field]
-- REPLY   HASH bytes... text
-- REPLY   MISS
-- ERRORS  (none)
-- COST    an HGET or an HGETALL

-- `bytes` are the lengths of a field and its value in turn. After them comes a line break, and then all of them without anything
-- between.

local call, hash, field = redis.call, KEYS[1], ARGV[1]
local texts
if field then
  local value = call('HGET', hash, field)
  texts = value and { field, value } or {}
else
  texts = call('HGETALL', hash)
end
if #texts == 0 then return 'MISS' end
local bytes = {}
for i = 1, #texts do bytes[i] = #texts[i] end
return 'HASH ' .. table.concat(bytes, ' ') .. '\n' .. table.concat(texts)
