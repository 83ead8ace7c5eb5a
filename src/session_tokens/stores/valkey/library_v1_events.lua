-- The log of events: reading, trimming and rewriting it. A commit adds to it by writes.e (library_v1.lua), and to the
-- stream of a partition by writes.f (library_v1_partitions.lua).

-- Answer now, the place up to which events were taken away and the last stamp (each empty for none), and at most limit
-- entries of the log of events after a place.
-- place limit
local function events(keys, args)
  local prefix, now = prefix_of(keys), milliseconds(redis.call('TIME'))
  local entries = redis.call('XRANGE', prefix .. 'ev', '(' .. args[1], '+', 'COUNT', args[2])
  return {now, redis.call('GET', prefix .. 'et') or '', redis.call('GET', keys[1]) or '', entries}
end

-- Take away the oldest events beyond keep, at most so many; answer how many.
-- keep most
local function trim_events(keys, args)
  local prefix = prefix_to_write(keys)
  local key, length = prefix .. 'ev', redis.call('XLEN', prefix .. 'ev')
  local count = math.min(length - tonumber(args[1]), tonumber(args[2]))
  if count <= 0 then return 0 end
  local gone = redis.call('XRANGE', key, '-', '+', 'COUNT', count)
  redis.call('SET', prefix .. 'et', gone[count][1])
  redis.call('XTRIM', key, 'MAXLEN', length - count)
  return count
end

-- Rewrite the log: a copy with some entries changed is made beside it, step by step, and takes its place at the end. One
-- process at a time does so, known by its token; a turn in which nothing comes for a minute is over. Each step may come
-- twice.
-- what token [after last (id body)…]; what is begin, copy or end. Answer whether it is the turn of that token.
local function rewrite_events(keys, args)
  local prefix = prefix_to_write(keys)
  local log, copy, turn = prefix .. 'ev', prefix .. 'ew', prefix .. 'er'
  local whose, done = redis.call('GET', turn) or 'done', 'done ' .. args[2]
  if whose == done then return 1 end
  if whose ~= args[2] and (args[1] ~= 'begin' or string.sub(whose, 1, 4) ~= 'done') then return 0 end
  redis.call('SET', turn, args[2], 'PX', 60000)
  if args[1] == 'begin' then
    redis.call('DEL', copy)
    return 1
  end
  local changed = {}
  for place = 5, #args, 2 do changed[args[place]] = args[place + 1] end
  for _, entry in ipairs(redis.call('XRANGE', log, '(' .. args[3], args[4])) do
    local added = redis.pcall('XADD', copy, entry[1], 'e', changed[entry[1]] or entry[2][2])
    if type(added) == 'table' and added.err and not string.find(added.err, 'smaller', 1, true) then return added end
  end
  if args[1] == 'end' then
    if redis.call('EXISTS', copy) == 1 then
      redis.call('RENAME', copy, log)
      local trimmed = redis.call('GET', prefix .. 'et')
      if trimmed then redis.call('XTRIM', log, 'MINID', trimmed) end
    end
    redis.call('SET', turn, done, 'PX', 60000)
  end
  return 1
end

redis.register_function{function_name = 'session_tokens_rewrite_v1', callback = rewrite_events, flags = {'allow-oom'}}
redis.register_function{function_name = 'session_tokens_events_v1', callback = events, flags = {'no-writes'}}
redis.register_function{function_name = 'session_tokens_trim_events_v1', callback = trim_events, flags = {'allow-oom'}}
