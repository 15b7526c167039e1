Feature: One infer, from a manifest to a token
  The eight phases of an `infer`, on the real executable.

  Scenario: A Ready replica of the model is used
    Given a running rbee
    And the quickstart is applied and Ready
    When somebody asks worker "tinybee" for 12 tokens
    Then the answer streams to stdout
    And no other worker process was started
    And the summary names 12 tokens

  Scenario: Without an answer from the queen the address and the advice are named
    Given no queen
    When somebody lists models
    Then the command fails with exit code 1
    And stderr says "rbee up"

  Scenario: A hive that has the file reports it
    Given a running rbee
    And a copy of the model at "models/copy.gguf"
    When the Model "copied" with that file is applied
    Then the Model "copied" becomes Ready
    And the Model "copied" has architecture "llama" and 4 layers

  Scenario: A file with another sha256 than the Model asks for is never loaded
    Given a running rbee
    And a copy of the model at "models/copy.gguf"
    When the Model "tinybee" with that file and another's sha256 is applied
    And a Worker "strict" with backend "cpu" is applied
    Then the Model "tinybee" is not Ready and says "ChecksumMismatch"
    And the Worker "strict" is not Scheduled and says "sha256"
    And no worker process runs
    When the Model "tinybee" with that file and its sha256 is applied
    Then the Model "tinybee" becomes Ready
    And the Assignment of worker "strict" becomes Ready with a url and a pid

  Scenario: A file that is not there is said to be missing, with its path
    Given a running rbee
    When the Model "absent" with the file "/no/such/model.gguf" is applied
    Then the Model "absent" is not Ready and says "/no/such/model.gguf"

  Scenario: A backend that the machine lacks is refused and never replaced
    Given a running rbee
    And the quickstart's Model is applied
    When a Worker "metallic" with backend "metal" is applied
    Then the Worker "metallic" is not Scheduled and says "metal"
    And no worker process runs

  Scenario: The worker reports Ready, and the Assignment says so
    Given a running rbee
    When the quickstart is applied
    Then the Assignment of worker "tinybee" becomes Ready with a url and a pid
    And that process is alive

  Scenario: Loading is told while it lasts
    Given no queen
    When somebody runs infer from nothing for 8 tokens
    Then stderr tells about the model, the worker and the loading
    And nothing is left running

  Scenario: Tokens stream straight from the worker, and through the gateway alike
    Given a running rbee
    And the quickstart is applied and Ready
    When somebody asks worker "tinybee" for 20 greedy tokens
    And somebody asks the gateway for 20 greedy tokens
    Then both answers are the reference text
