
-- h hash: its fields and their values.
function asks.h(prefix, args, at, now)
  return redis.call('HGETALL', prefix .. args[at]), at + 1
end

-- Answer for each command (words; * is a key of the store) whether the user may give it. A commit that met a forbidden one
-- midway would be half a commit.
local function allowed(keys, args)
  local answers = {}
  for place, words in ipairs(args) do
    local command = {}
    for word in string.gmatch(words, '%S+') do
      command[#command + 1] = word == '*' and prefix_of(keys) .. 's:' or word
    end
    answers[place] = redis.acl_check_cmd(unpack(command)) and 1 or 0
  end
  return answers
end

redis.register_function{function_name = 'session_tokens_allowed_v1', callback = allowed, flags = {'no-writes'}}

-- What a reading by plain commands ends with. It may write and never does: a replica, which has no right to, refuses it.
local function now(keys)
  return milliseconds(redis.call('TIME'))
end

redis.register_function{function_name = 'session_tokens_now_v1', callback = now, flags = {'allow-oom'}}

-- Compare the marks of the peppers given with those recorded, record new ones, and that the first is in use:
-- field → mark, since when it is recorded, and since when in use (0: only added, which is in nobody's way).
-- name, (field, mark)…; answer "" or the first field that was given otherwise, or is in use and was not given.
local function enrol(keys, args)
  local now, key, given, recorded = milliseconds(redis.call('TIME')), prefix_to_write(keys) .. args[1], {}, {}
  for place = 2, #args, 2 do
    given[args[place]] = args[place + 1]
  end
  local rows = redis.call('HGETALL', key)
  for place = 1, #rows, 2 do
    local field, mark, added, used = rows[place], string.match(rows[place + 1], '(%S+) (%d+) (%d+)')
    if given[field] and given[field] ~= mark or not given[field] and used ~= '0' then
      return field
    end
    recorded[field] = {added, used}
  end
  for place = 2, #args, 2 do
    local field, used, before = args[place], place == 2 and now or 0, recorded[args[place]]
    if not before or used ~= 0 and before[2] == '0' then
      redis.call('HSET', key, field, string.format('%s %.0f %.0f', given[field], before and before[1] or now, used))
    end
  end
  return ''
end

redis.register_function{function_name = 'session_tokens_enrol_v1', callback = enrol, flags = {'allow-oom'}}

-- Forget a field of a hash, in one step; to delete one field is not among the rights that are needed.
-- hash field
local function forget(keys, args)
  local key, kept = prefix_to_write(keys) .. args[1], {}
  local rows = redis.call('HGETALL', key)
  for place = 1, #rows, 2 do
    if rows[place] ~= args[2] then
      kept[#kept + 1] = rows[place]
      kept[#kept + 1] = rows[place + 1]
    end
  end
  redis.call('DEL', key)
  if #kept > 0 then
    redis.call('HSET', key, unpack(kept))
  end
  return #rows / 2 - #kept / 2
end

redis.register_function{function_name = 'session_tokens_forget_v1', callback = forget, flags = {'allow-oom'}}
