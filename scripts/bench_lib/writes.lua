-- wrk's requests for the figure `writes`: GET /createExperiment, each with a name of its own.
-- Arguments: the model, a word that no other round has.
local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

local path
function init(args)
  path = string.format("/createExperiment?model_name=%s&experiment_name=%s-%d-", args[1], args[2], number)
end

local count = 0
function request()
  count = count + 1
  return wrk.format("GET", path .. count .. "&learning_rate=0.1&num_layers=1&num_steps=1")
end
