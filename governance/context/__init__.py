"""What a model is shown of a long history: as much as fits, the same every time, and nothing that is needed lost.

`history` folds the messages of a conversation; `left_out`, `notes` and `summary` keep what turns held that are left
out; `recall` brings back what the newest turns are about; `turns` makes a list that every provider accepts; `prompt`
puts these together. All of it follows from the history alone: nothing has to be stored, and a resume, another process
or a replay comes to the same prompt.
"""
