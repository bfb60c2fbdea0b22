#!lua flags=allow-oom
-- remove: removes keys.
-- KEYS    key...
-- ARGV    (none)
-- REPLY   OK removed
-- ERRORS  (none)
-- COST    a DEL

return 'OK ' .. redis.call('DEL', unpack(KEYS))
