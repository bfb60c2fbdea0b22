-- The Lua side of one shard's VM: what Redis puts around a script, and the way in and out.
-- In: one table of functions written in Rust. Out: `set_keys` and `run`.
local native = ...
local call, try, failure_text, script_line, hand_over =
  native.call, native.try, native.failure_text, native.script_line, native.hand_over
local type, tostring, select = type, tostring, select
local raw_pcall, raw_xpcall, raw_error = pcall, xpcall, error
local globals = _G

-- Redis gives a script no files, no bytecode, no environments. Random numbers would differ from a server's.
for _, name in ipairs({
  'collectgarbage', 'dofile', 'gcinfo', 'getfenv', 'load', 'loadfile', 'loadstring', 'module', 'newproxy', 'print',
  'require', 'setfenv',
}) do
  globals[name] = nil
end
string.dump, math.random, math.randomseed = nil, nil, nil

-- What a failure looks like to a script's own handler: a table for a command's refusal, else what was raised.
local function as_raised(failure)
  if type(failure) == 'userdata' then
    return { err = failure_text(failure) }
  end
  return failure
end

-- A script's `pcall` sees the text of a refusal, not its table (script_lua.c, luaRedisPcall).
local function caught(ok, failure, ...)
  if ok then
    return ok, failure, ...
  end
  failure = as_raised(failure)
  if type(failure) == 'table' and type(failure.err) == 'string' then
    failure = failure.err
  end
  return false, failure
end

function globals.pcall(...)
  return caught(raw_pcall(...))
end

function globals.xpcall(body, handler)
  return raw_xpcall(body, function(failure)
    return handler(as_raised(failure))
  end)
end

local function single_field(field)
  return function(...)
    local text = ...
    if select('#', ...) ~= 1 or type(text) ~= 'string' then
      return { err = 'ERR wrong number or type of arguments' }
    end
    return { [field] = text }
  end
end

-- Redis keeps the first word as the code when there is more than one; a leading '-' is not part of it.
local function error_reply(...)
  local reply = single_field('err')(...)
  local text = reply.err
  if text:sub(1, 1) == '-' then
    text = text:sub(2)
  end
  if not text:find(' ', 1, true) then
    text = 'ERR ' .. text
  end
  return { err = text }
end

globals.redis = {
  call = call,
  pcall = try,
  error_reply = error_reply,
  status_reply = single_field('ok'),
  sha1hex = native.sha1hex,
}
globals.KEYS, globals.ARGV = {}, {}

setmetatable(globals, {
  __index = function(_, name)
    raw_error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
  end,
  __newindex = function()
    raw_error('Attempt to modify a readonly table', 2)
  end,
})

local VALUE, HANDED_OVER, RAISED = 0, 1, 2
local line

-- Runs where the failure happened, while the stack still knows the script's line.
local function on_failure(failure)
  line = script_line()
  failure = as_raised(failure)
  if type(failure) == 'table' then
    return failure
  end
  return { err = 'ERR ' .. tostring(failure) }
end

-- The usual reply, a flat array of strings and whole numbers, goes over in eights: far cheaper than value by value.
-- Anything else is left to the slow, complete way: false.
local bits = { 1, 2, 4, 8, 16, 32, 64, 128 }
local function hand_over_flat(reply)
  local count = #reply
  if count == 0 or reply.err ~= nil or reply.ok ~= nil then
    return false
  end
  for first = 1, count, 8 do
    local numbers = 0
    local last = first + 7
    if last > count then
      last = count
    end
    for at = first, last do
      local value = reply[at]
      local kind = type(value)
      if kind == 'number' and value % 1 == 0 and value > -1e14 and value < 1e14 then
        numbers = numbers + bits[at - first + 1]
      elseif kind ~= 'string' then
        return false
      end
    end
    hand_over(
      first == 1, numbers, reply[first], reply[first + 1], reply[first + 2], reply[first + 3], reply[first + 4],
      reply[first + 5], reply[first + 6], reply[first + 7]
    )
  end
  return true
end

local function set_keys(...)
  globals.KEYS = { ... }
end

local function run(script, ...)
  globals.ARGV = { ... }
  local ok, reply = raw_xpcall(script, on_failure)
  if not ok then
    return RAISED, reply.err, line
  end
  if type(reply) == 'table' and hand_over_flat(reply) then
    return HANDED_OVER
  end
  return VALUE, reply
end

return set_keys, run
