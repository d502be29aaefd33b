"""One model call, from request to finished answer: time limits, load watching, reasoning split off, retries.

Workers and judges both call models through here, so that a judge that loads is watched as a worker is.
"""
