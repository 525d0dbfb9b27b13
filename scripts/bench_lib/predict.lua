-- wrk's requests for the figure `predict`: POST /test with one image of a folder after the other.
-- Arguments: the folder, how many images it has (0.png, 1.png, ...), the model.
local boundary = "bench-boundary-7f3a"
local bodies = {}

function init(args)
  local folder = args[1]
  for number = 0, tonumber(args[2]) - 1 do
    local file = assert(io.open(string.format("%s/%d.png", folder, number), "rb"))
    local image = file:read("*a")
    file:close()
    bodies[#bodies + 1] = table.concat({
      "--", boundary, "\r\nContent-Disposition: form-data; name=\"model_name\"\r\n\r\n", args[3], "\r\n",
      "--", boundary, "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"", number, ".png\"\r\n",
      "Content-Type: image/png\r\n\r\n", image, "\r\n--", boundary, "--\r\n",
    })
  end
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "multipart/form-data; boundary=" .. boundary
end

local next_body = 0
function request()
  next_body = next_body % #bodies + 1
  return wrk.format(nil, nil, nil, bodies[next_body])
end
