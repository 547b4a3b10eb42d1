"""Studies run many times over: does their judgement hold as often as their statistics promise?"""
