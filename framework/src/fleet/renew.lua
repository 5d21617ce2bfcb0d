-- Renews the leases of one instance of a fleet. All times are those of the server, in microseconds.
-- KEYS: the instances, the time when the data began, and one key for each request.
-- ARGV: the id of the instance, its expiry, the time in which counts do not grow, and six values for each request.
-- Returns the number of instances, and what is granted to each request.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local instances, since, id = KEYS[1], KEYS[2], ARGV[1]
local expiry, settling = tonumber(ARGV[2]), tonumber(ARGV[3])

local function text(number)
  return string.format('%.0f', number)
end

local function pair(stored)
  local first, second = string.match(stored, '^(%S+) (%S+)$')
  return tonumber(first) or 0, tonumber(second) or 0
end

redis.call('ZADD', instances, text(now), id)
redis.call('ZREMRANGEBYSCORE', instances, '-inf', text(now - expiry))
redis.call('ZREMRANGEBYSCORE', instances, text(now + expiry), '+inf') -- the clock was set back
redis.call('PEXPIRE', instances, text(expiry / 1000))

local began = tonumber(redis.call('GET', since))
if not began or began > now then
  began = now
  redis.call('SET', since, text(now))
end
redis.call('PEXPIRE', since, text(math.max(60000, settling / 1000 * 2)))

-- Takes tokens from a bucket. An idle source leaves half of the bucket to the instances where it is active.
local function tokens(key, each, capacity, initial, want, is_idle)
  local level, at = initial, now
  local stored = redis.call('GET', key)
  if stored then
    level, at = pair(stored)
  end
  level = math.min(capacity, level + math.max(0, now - at) / each)
  local kept = is_idle == 1 and math.floor(capacity / 2) or 0
  local granted = math.max(0, math.floor(math.min(want, level - kept)))
  local full_after = math.min(capacity * each / 1000 + 1000, 1e12)
  redis.call('SET', key, string.format('%.6f %.0f', level - granted, now), 'PX', text(full_after))
  return granted
end

-- Sets how many connections of a source the instance may have. The others keep what they have.
local function open(key, limit, count, want, lifetime)
  if want == 0 then
    redis.call('HDEL', key, id)
    return 0
  end
  local others = 0
  local stored = redis.call('HGETALL', key)
  for at = 1, #stored, 2 do
    if stored[at] ~= id then
      local granted, ends = pair(stored[at + 1])
      if ends < now or ends > now + 10 * lifetime then
        redis.call('HDEL', key, stored[at])
      else
        others = others + granted
      end
    end
  end
  local granted = math.max(count, math.min(want, limit - others))
  if now - began < settling then
    granted = count -- the other instances have yet to report theirs
  end
  redis.call('HSET', key, id, string.format('%.0f %.0f', granted, now + lifetime))
  redis.call('PEXPIRE', key, text(lifetime / 1000))
  return granted
end

local reply = { redis.call('ZCARD', instances) }
for request = 1, #KEYS - 2 do
  local key, first = KEYS[request + 2], 4 + (request - 1) * 6
  local values = {}
  for at = 1, 5 do
    values[at] = tonumber(ARGV[first + at])
  end
  local ask = ARGV[first] == 'tokens' and tokens or open
  reply[request + 1] = ask(key, unpack(values, 1, 5))
end
return reply
