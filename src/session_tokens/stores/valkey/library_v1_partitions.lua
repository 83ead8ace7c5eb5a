
-- What is asked where records are spread over partitions: what a set or listing leads to may lie in another one.

-- m bucket set kind limit: as b, with the ids whose record is not here, each followed by nothing.
function asks.m(prefix, args, at, now)
  local key, kind, limit = prefix .. args[at + 1], args[at + 2], tonumber(args[at + 3])
  local answer, most = {redis.call('ZSCORE', prefix .. args[at], MARK)}, math.abs(limit)
  for _, id in ipairs(redis.call(limit < 0 and 'ZREVRANGE' or 'ZRANGE', key, 0, most == 0 and -1 or most)) do
    if id ~= MARK and (most == 0 or #answer < 2 * most) then
      answer[#answer + 1] = id
      answer[#answer + 1] = redis.call('GET', prefix .. kind .. id)
    end
  end
  return answer, at + 4
end

-- i set limit: the first ids of a set, at most limit.
function asks.i(prefix, args, at, now)
  return members(prefix .. args[at], tonumber(args[at + 1])), at + 2
end

-- g score id limit kind hops count source…: as l, each with its score, and those whose record is not here too.
function asks.g(prefix, args, at, now)
  local score, id, limit = args[at], args[at + 1], tonumber(args[at + 2])
  local newest, comes_first = limit < 0, limit < 0 and is_behind or is_before
  limit = math.abs(limit)
  local kind, hops, count = args[at + 3], tonumber(args[at + 4]), tonumber(args[at + 5])
  local keys, rows, answer, last = {}, {}, {}, nil
  for place = at + 6, at + 5 + count do
    local instead = draw_from(prefix, args[place], now, keys)
    if instead then keys = {instead} break end
  end
  for _, key in ipairs(keys) do collect(key, score, id, limit, rows, newest) end
  if #keys > 1 then table.sort(rows, comes_first) end
  for _, row in ipairs(rows) do
    if #answer == limit then break end
    if row[2] ~= last then
      local found = {string.format('%.0f', row[1]), row[2]}
      chase(prefix, kind .. row[2], hops, found)
      answer[#answer + 1] = found
      last = row[2]
    end
  end
  return answer, at + 6 + count
end

-- f body order: add an event to the stream of the partition, from which it is moved into the log; see placed_events.py.
function writes.f(args, at)
  redis.call('XADD', prefix .. 'es', stamp .. '-*', 'e', args[at], 'o', args[at + 1])
  return at + 2
end
